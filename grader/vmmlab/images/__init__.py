"""From a student's files to an image that boots: sandboxed compilers, link, symbols, cache.

::

    builder = Builder(tree, course, Sandbox.choose(require=True), None, FromReference(reference))
    image = builder.build("lab3", files, cohort, BuildOptions(opt="-O0"))
    image.kernel, image.symbols.addr("vmm_parked"), image.warnings
"""
