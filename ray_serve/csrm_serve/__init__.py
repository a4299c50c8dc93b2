"""The Ray Serve application that hosts the relevance model and the knowledge retriever."""
