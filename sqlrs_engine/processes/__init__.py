"""Starting, following and ending programs, and telling processes apart."""
