"""Analysis made readable: report.json, a page that works offline, CSV, PNG, and the last screen of a run."""
