"""Second-order meta-gradients as users of other libraries compute them, each in an interpreter of its own."""
