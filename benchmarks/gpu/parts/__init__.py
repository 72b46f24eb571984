"""What is measured on a GPU, a module for each part: `measure` yields its rows."""
