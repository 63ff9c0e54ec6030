"""The hub: the small server that a site runs as the sync endpoint of its token readers.

`store` is the database, `site` what is in it, `gates` what readers ask; `accounts`, `rest`,
`tables` and `cli` are for those who run the site, and `running` is the server process. Who wants
it from Python: `store.database.open_database` opens or makes a database, and
`with store.changes.changing(database) as session:` is the one way to write to it, with
`site.site_secret.set_secret`, `site.readers.add_reader` and `site.tokens.set_tokens`.
"""
