"""Trained models for other programs and small devices: smaller weights, ONNX files, and a page for a browser.

In: a run, a fine-tuned directory, or "mini". Out: a folder, or one HTML file.

| file | |
|---|---|
| `opened_source.py` | which models there are in what the user names |
| `export_files.py` | the folders that `export` writes |
| `onnx_graph.py` | a model as ONNX operators |
| `page_contents.py` | what a page needs to know of a model, and the page itself |
| `page/` | the page: HTML, CSS, and JavaScript that cuts a text into pieces and runs the model |
"""
