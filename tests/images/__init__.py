"""The images, really built, and run."""
