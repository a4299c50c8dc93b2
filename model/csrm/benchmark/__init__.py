"""How fast this machine judges products, beside what a user would run instead: ``csrm bench scoring``.

Knows models and clocks; knows no HTTP and no Ray (what these add is measured by ``csrm_serve.overhead``).
"""
