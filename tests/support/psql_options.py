"""psql's options as getopt(3) knows them, and command lines made of them."""

from hypothesis import strategies as st

LETTERS = "aAbc:d:eEf:F:h:HlL:no:p:P:qR:sStT:U:v:VwWxXz01?"
LONG = [
    "echo-all", "no-align", "command=", "dbname=", "echo-queries", "echo-errors",
    "echo-hidden", "file=", "field-separator=", "field-separator-zero", "host=", "html",
    "list", "log-file=", "no-readline", "single-transaction", "output=", "port=", "pset=",
    "quiet", "record-separator=", "record-separator-zero", "single-step", "single-line",
    "tuples-only", "table-attr=", "username=", "set=", "variable=", "version",
    "no-password", "password", "expanded", "no-psqlrc", "help", "csv",
]  # fmt: skip
CONNECTION = {"-h", "-p", "-U", "-d", "--host", "--port", "--username", "--dbname"}

flags = st.one_of(
    st.sampled_from([f"-{letter}" for letter in LETTERS if letter != ":"]),
    st.sampled_from([f"--{name.rstrip('=')}" for name in LONG]),
    st.sampled_from(["--", "-", "", "host=evil", "-f", "-c", "x", "a=b", "ON_ERROR_STOP=1"]),
    st.builds(lambda name, n: f"--{name}"[: n + 2], st.sampled_from(LONG), st.integers(0, 12)),
    st.builds("-{}{}".format, st.text(LETTERS + "-=", max_size=3), st.text("hpx=-1", max_size=3)),
    st.builds("--{}={}".format, st.sampled_from([*LONG, "", "x"]), st.sampled_from(["", "h=e"])),
)
