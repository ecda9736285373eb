"""The console: what people watch in a browser. `app.create` makes it, `serve.server` serves it."""
