"""The host: sandbox, processes, containers, tool roots, versions of the tools."""
