"""Office files to text: one file a format, on a package (a ZIP of XML parts) that is opened under bounds."""
