"""The functions of `import trapline`: each a thin one over the room that does the work."""
