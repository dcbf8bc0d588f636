"""Tests of the function alone. Run them with: python3 -m unittest"""
import threading
import unittest
from unittest.mock import Mock

import worker
from word_count import word_count


class WordCount(unittest.TestCase):
    def setUp(self):
        self.run_of_test = Mock(cancelled=threading.Event())

    def test_words_are_counted(self):
        result = word_count({"text": "To be or\nnot to be"}, self.run_of_test)
        self.assertEqual(result, {"words": 6, "most": [("to", 2), ("be", 2), ("or", 1)]})
        self.run_of_test.progress.assert_called_with(100, "line 2")

    def test_a_cancelled_run_stops(self):
        self.run_of_test.cancelled.set()
        self.assertEqual(word_count({"text": "to be"}, self.run_of_test)["words"], 0)

    def test_arguments_without_a_text_fail_for_good(self):
        for args in ({}, {"text": 1}, []):
            self.assertRaises(worker.Permanent, word_count, args, self.run_of_test)


if __name__ == "__main__":
    unittest.main()
