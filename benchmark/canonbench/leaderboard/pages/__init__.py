"""What people see of the board: Markdown, the web page and plots, each a pure function of it."""
