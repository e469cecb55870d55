"""Records to tables, figures and HTML."""
