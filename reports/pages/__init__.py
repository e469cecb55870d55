"""What each page of the report shows, as plain values for its template."""
