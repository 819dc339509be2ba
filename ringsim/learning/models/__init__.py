"""Models: lists of layers, one model a file.

    model.py     Layer and Model, the loss and the accuracy
    layers.py    dense, convolution, max pooling, and dropout around any of them
    softmax.py   one linear layer
    mlp.py       fully connected layers
    cnn.py       the MNIST network of the Keras and Horovod examples
    build.py     settings -> model
    checks.py    whether a user's own model does what it says

What is not here: the data (`data.py`) and how parameters are stored and moved (`parameters.py`).
"""
