"""Reports of verdicts: JSON for programs, one self-contained HTML page for people.

    validator = Validator.from_stores(TrustStore.from_files(["ca.pem"]))
    verdicts = [validator.validate(check_integrity(path)) for path in paths]
    for verdict in verdicts:
        print(json_line(verdict))
    write_html(Path("report.html"), verdicts, validator)

| module        | holds                                                                        |
|---------------|------------------------------------------------------------------------------|
| json_report   | `as_json`, `json_line`: the schema hsm-dicom/verify/2 (docs/reference/json-verify.md)    |
| html_report   | `write_html`: the page, from `templates/`                                     |
| basis         | what verdicts rest on: trust anchors, revocation data, policy                 |
| environment   | `make_environment`: templates whose values are escaped and printable; the look of pages |
| html_views    | the texts, shares and pictures that the templates show                        |
| run_view, looks, display | the summary and the groups of a run, the look of outcomes, names and dates |
| chain_picture | the certificate chain over time, as SVG                                       |
| inventory     | `write_inventory`: the page of `hsm-dicom inventory`                          |
| record        | `CeremonyRecord`, `write_record`: what a command did to a token, for an auditor |
| pictures      | small pictures of pixel data                                                  |
| drawing, png, rle | conversion of a frame to 8 bits, of pixels to PNG, of RLE Lossless        |
"""

from hsm_dicom.report.html_report import ReportError, write_html
from hsm_dicom.report.json_report import SCHEMA, as_json, json_line

__all__ = ["SCHEMA", "ReportError", "as_json", "json_line", "write_html"]
