"""Strategies: how machines train together, one file for each, which reads like its paper from top to bottom.

    local.py               one machine: the reference
    ring.py                data parallel by ring all-reduce; a death ends the job
    buckets.py             which piece of its gradient is all-reduced when
    ring_elastic.py        the same, which goes on without the dead and takes back those who return
    parameter_server.py    one server, workers in step; waits for the dead, or drops them, or for all but the last
    server_checkpoint.py   the same, whose server saves its state and comes back
    server_chain.py        the same with replicas: no single death loses anything
    training.py            what they all share: gradients, updates, samples, and what the trace hears of them
    table.py               which settings mean which strategy

They meet the world through `ringsim.node.Node` only. What is not here: virtual time, and what a gradient is.
"""
