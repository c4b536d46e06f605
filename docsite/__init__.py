"""What makes the documentation: pages written from the code, and the site of all pages."""
