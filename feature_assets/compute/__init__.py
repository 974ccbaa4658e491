"""How features are computed: transforms, keys, and the kernels that look up and aggregate."""
