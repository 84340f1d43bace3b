"""The report of a run: one HTML file that opens from disk, without a server or a network, to explore the run.

In come the folders of one run or two, out comes the file. No model is imported.

| file | |
|---|---|
| `contents.py` | what the page says, read from the runs' folders |
| `figures.py` | which curves and figures, and what each is compared with |
| `packed_records.py` | the detection records as one text |
| `write_report.py` | the file: page, style, script and contents |
| `follow.py` | the same again at every evaluation, while a run trains |
| `page/` | the page: HTML, CSS, and JavaScript in files of one subject each |
"""

from minielectra.report.follow import follow_report
from minielectra.report.write_report import write_report

__all__ = ["follow_report", "write_report"]
