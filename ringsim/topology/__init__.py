"""Topologies: which machines and switches have links, and which way a message takes.

    star.py  ring.py  line.py  full.py  torus.py     one topology each: settings and machines to edges, as plain data
    two_tier.py  fat_tree.py  wan.py  graph.py
    edge.py          one direction of one link, and whose bandwidth and latency it has
    build.py         the edges of any topology, and the networkx graph of them
    graph_file.py    a graph from a file (GraphML, node-link JSON)
    routes.py        the way from one machine to another
    order.py         an order for a ring's ranks, with neighbours near each other
    facts.py         diameter, bisection bandwidth, links that connections share

networkx is imported when a graph is made, and not before, so that checking a scenario stays quick. What is not here:
time and messages (`world/`), and whether a scenario's keys agree (`scenario_file/network.py`).
"""

from ringsim.topology.build import build
from ringsim.topology.order import ring_order
from ringsim.topology.routes import Routes

__all__ = ["Routes", "build", "ring_order"]
