"""Every flight that left New York in 2013, with the weather: the built-in example.

The listing reads as the data flows: `files` finds the published CSV files, `airports` and `zones` turn local clocks
into instants, `data` gives Arrow tables with true arrival times, `sources` reads them a day at a time as of an instant,
`statements` and `views` make features of them, `request_time` what is worked out on request, and `project` puts it all
together: the service, the questions and the model.
"""
