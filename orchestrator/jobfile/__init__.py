"""Job files: a whole graph in TOML.

    text --toml_lines--> line of each key
      `--tomllib--> document --loader--> Job    (checked by `tables`, the signatures of `Stream`)
                                           |--diagram--> Mermaid or Graphviz text
                                           `--builder--> streams that run

All mistakes of a file are reported together, each with its line.
"""
