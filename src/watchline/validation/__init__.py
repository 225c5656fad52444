"""What validate judges the tables by, and the page that tells of it."""
