"""The innerloop service: few-shot adaptation over HTTP. README.md in this folder is the map."""
