"""A session's flight as a drawing: pure geometry, which a template turns into SVG."""
