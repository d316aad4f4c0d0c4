"""Models x plans x seeds x data sets x recipes: a study file, its runs, their statistics, tables, plots and report.

What a single run does is not known here: it is handed in as a function (`lookright.api.studies` has it).
"""
