"""The warm pool: running clones of the states that clients request most.

* ``pool``: hands standbys over, and adjusts their number
* ``standbys``: the standbys that are ready or being made
* ``maker``: makes one standby
* ``demand``: how many standbys of each state are worth keeping
* ``limits``: how many standbys the configuration and the memory allow
"""
