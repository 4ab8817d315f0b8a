"""Looking after a database: verify what is stored, repair what is damaged, collect what nobody needs."""
