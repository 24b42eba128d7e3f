"""Counts lines, words and characters of a text. The dict that it returns reaches the client as JSON."""


def word_count(job):
    try:
        text = job.workload.decode("utf-8")
    except UnicodeDecodeError as error:
        # The client reads the text of this exception, so it names the byte.
        raise ValueError(f"the text is not UTF-8: {error.reason} at byte {error.start}") from error
    # A last line without a line end is a line too (`wc -l` counts line ends).
    lines = text.count("\n") + (text != "" and not text.endswith("\n"))
    return {"lines": lines, "words": len(text.split()), "characters": len(text)}
