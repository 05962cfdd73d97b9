"""Which models does zeroidle bring along, and how are they assembled from what is in git?"""
