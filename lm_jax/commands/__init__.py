"""One small file for each command, named as it is typed; no logic of its own.

Beside them: `options` and `help` read a command's options, `asked` and `fields_help` an
experiment and its fields, `told` and `as_json` say what came out.
"""
