"""The OpenSearch side of CSRM: gateway, profiles, window rules, templates. Knows no model and no Ray."""
