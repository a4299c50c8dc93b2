"""Makes knowledge entries out of what a shop has; each module knows one kind of source and no file but its own.

    terms      a plain CSV of words and what they mean
    taxonomy   a table of category paths, one file a language
    judged     labelled (query, product) pairs
    choices    what shoppers clicked and bought for a query, with their clients left out
    products   brands, categories and attributes of a product index, as counts
    merging    what a build changes in a file of entries

Where rows come from a cluster, somebody else reads them: nothing here knows OpenSearch.
"""
