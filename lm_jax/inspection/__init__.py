"""What a fitted model says of single texts, token by token, and why.

`inspecting` tells all of a text: by `reading`, which asks `queries` that `formulations`
makes, or by `attributions` where a class is told; and `attention`. `probing` asks for
`pairs` of sentences.
"""
