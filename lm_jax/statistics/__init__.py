"""What runs say of a question: paired differences, tests, verdicts in words.

`paired` has the tests, `verdicts` decides by them, `power` says what so few seeds could
show, and `words` puts it into sentences. `report` is of a sweep, `folders` of any two
folders of runs, `items` of the same items of a split.
"""
