"""The search language: `language` reads it and says what it finds; `sql` asks SQLite for the same."""
