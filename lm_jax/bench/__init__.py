"""Speed, measured beside the same model in PyTorch; and that killed runs come back.

`compare` and `writing` take turns between the two sides of training and of generation,
each in a process (`worker`); `sizes` has the models. `parts` says where the time of a
training step goes. `kills` kills trainings.
"""
