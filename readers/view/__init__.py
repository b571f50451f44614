"""A page to go through mice and trials, and its server: `page` is what runs in a browser, and reads stores itself."""
