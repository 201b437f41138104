"""What the routes answer, field by field with its unit: the schemas of the API's own pages."""
