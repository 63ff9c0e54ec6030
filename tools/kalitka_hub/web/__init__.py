"""Parts of the HTTP side that every API of the hub shares."""
