"""The hub: the small server that a site runs as the sync endpoint of its token readers.

`store` is the database, `site` the people, tokens and readers in it, `reader_api` the API of the
readers, `kormitel` the exchange with the canteen system, and `web` the HTTP parts that these APIs
share. `accounts`, `rest`, `tables` (CSV) and `cli` serve the operators, and `server` is the server
process. From Python, `store.database.open_database` opens or creates a database, and
`with store.changes.write_transaction(database) as session:` is the only way to write to it, with
`site.site_secret.set_secret`, `site.readers.add_reader` and `site.tokens.set_tokens`.
"""
