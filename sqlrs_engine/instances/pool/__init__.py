"""The warm pool: standbys of the states most likely to be asked for."""
