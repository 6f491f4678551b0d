"""Reports and pages: what was measured, in words and charts."""
