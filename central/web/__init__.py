"""The hub's HTTP: one file per URL prefix; answers are Structs, so that OpenAPI is typed."""
