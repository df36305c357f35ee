"""The machine: disk space, file descriptors, memory and private directories."""
