"""Functions to give to ``.map``: mixup and cutmix, and adapters of libraries that draw from generators of their own."""
