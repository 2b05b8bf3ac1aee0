"""The packages in here are strangers: `test_third_party.py` installs them and runs their own tests."""

collect_ignore_glob = ["*"]
