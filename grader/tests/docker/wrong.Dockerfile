# Each comment names the rules that the next instruction breaks.
# DL3006
FROM debian
# DL3009, DL3014, DL3015
RUN apt-get update && apt-get install gcc
# DL3020
ADD course.yml /course/
# DL3004, SC2086
RUN sudo rm $HOME/x
# DL3002, DL3066
USER root
