"""Job files: a whole graph in TOML.

    text --places--> line of each key         (places.py)
      `--tomllib--> document --reading--> Job (reading.py, by the tables of schema.py)
                                            |--drawing--> Mermaid or Graphviz text
                                            `--building--> streams that run

All mistakes of a file are reported together, each with its line.
"""
